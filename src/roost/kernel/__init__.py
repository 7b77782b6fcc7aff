"""The kernel: runs sessions. Inbox to turns, leases, timers, sleep and wake, start and stop."""
