"""The command line of the client; one module per command."""
