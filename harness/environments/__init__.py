"""Other versions of packages: environments with them, sessions in these, and bisection."""
