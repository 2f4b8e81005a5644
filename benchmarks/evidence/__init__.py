"""What must be shown of the promotion rule: error rates, power, comparison, real A/A tunings."""
