"""Data sets: fetch them, read their published layout, prepare one canonical store, annotate it."""
