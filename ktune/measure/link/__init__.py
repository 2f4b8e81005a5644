"""The emulated long link: delay, rate and queue without `netem`, without root."""
