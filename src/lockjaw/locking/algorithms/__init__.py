"""The lock algorithms, one file each. All are generators of operations; none touches the system."""
