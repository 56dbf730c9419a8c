"""The gateway's HTTP API: the services' application with an intake for whole plans, and the history."""
