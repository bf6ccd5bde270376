"""What `scripts/gpu_report.py` does on a real GPU."""
