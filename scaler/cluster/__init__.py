"""What Kubernetes says of the workloads that are scaled: read by list and watch, answered from memory."""
