"""The whole system on simulated time: one seed is one history of processes, faults and steps of the clock."""
