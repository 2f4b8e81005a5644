"""ktune beside what people use today, on the same work and with as many windows."""
