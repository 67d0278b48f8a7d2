"""Pages of jobs: `wizard` starts one, `listing` shows many, `detail` one, `workers` who runs them."""
