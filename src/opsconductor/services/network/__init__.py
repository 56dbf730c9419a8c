"""network-analyzer-service: looks at endpoints, scans and captures."""
