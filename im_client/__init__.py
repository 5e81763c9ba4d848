"""Reference IM client: an asyncio library and a command line."""

__version__ = "0.1.0"
PRODUCT = f"IM-client/OMA1.0 simple-im/{__version__}"
"""First product of User-Agent and Server is the OMA release (HDR-01, Appendix F)."""
