"""What the papers minimise; formulas derived where they stand."""
