"""Training: one visible loop that serves every method, and what keeps it exact and alive."""
