"""Federated quorum systems, where each node chooses for itself whom it needs: reading, analysis, witnesses."""
