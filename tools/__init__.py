"""What `make` uses: starting a whole instance, generating documents. Not needed by an operator's own Kamailio."""
