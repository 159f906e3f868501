"""The simulated machine: virtual time, processes, files, locks and links, all decided by one tape of choices."""
