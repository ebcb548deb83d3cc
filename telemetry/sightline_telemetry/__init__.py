"""What is measured about a served model, and how it leaves the process; usable without `service`."""
