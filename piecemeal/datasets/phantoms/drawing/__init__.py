"""What phantom writers share: implicit shapes, anatomy, the MR imaging model, files."""
