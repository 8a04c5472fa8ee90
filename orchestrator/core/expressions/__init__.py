"""What authors write in conditions and templates, compiled once and evaluated without a clock."""
