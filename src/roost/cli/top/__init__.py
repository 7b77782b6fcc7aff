"""`roost top`: sessions, nodes, queues, money and waiting approvals, live."""
