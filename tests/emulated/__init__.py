"""int8 on emulated CPUs: `make test-emulated`."""
