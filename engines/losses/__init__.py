"""The papers' losses; formulas are derived where they stand."""
