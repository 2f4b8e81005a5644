"""Which profiles fit what runs here: looks, and judges. Changes nothing."""
