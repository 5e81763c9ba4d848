"""The Controlling Function: the focus of IM sessions and their event package (7.2.2)."""
