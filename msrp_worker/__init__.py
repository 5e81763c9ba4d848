"""The companion worker: MSRP, session state and storage of the IM server."""

__version__ = "0.1.0"
PRODUCT = f"IM-serv/OMA1.0 simple-im/{__version__}"
"""First product of User-Agent and Server is the OMA release (HDR-01, Appendix F)."""
