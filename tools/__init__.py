"""What the project itself is checked and measured with; never imported by the product."""
