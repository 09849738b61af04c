"""What people and their tools see of a service over HTTP."""
