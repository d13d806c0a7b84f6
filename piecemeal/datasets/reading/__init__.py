"""Reading image files into arrays that can be trusted, one module a file format.

Every reader returns a `volumes.Volume`, (x, y, z) in the order of its file with an affine to world
mm in RAS; `volumes.scan_of` makes it a `Scan` with the labels that lie on it.
"""
