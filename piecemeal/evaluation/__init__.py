"""How good a segmentation is, and whether a paper's comparative sentences hold.

`metrics` scores one prediction structure by structure, `components` cleans it up first where a
cohort asks for that, `statistics` turns scores of many cases into intervals and p-values, and
`claims` puts a paper's sentences to the test.
"""
