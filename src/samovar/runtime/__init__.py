"""The small program inside a replica: it imports the user's code once and runs task executions."""
