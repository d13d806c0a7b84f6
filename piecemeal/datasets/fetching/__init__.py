"""Getting archives: over the network or by hand, checked, and unpacked without trusting them."""
