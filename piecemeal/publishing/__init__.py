"""Tables, figures and the report: from scores and published numbers to what people read."""
