"""The Controlling IM Function: conferences, groups, messages to many (7.2, 8.3)."""
