# What the steps say again and again.

# Runs those of the runtime's own tests that the words choose, and prints what came of each. A
# test that has nothing to test fails.
tests() {
  TMPDIR=$BASE/tmp ORLOP_TESTS_COMPLETE=1 ORLOP_TESTS_CONTROLLERS=1 ORLOP_TESTS_ROUNDS=20 \
    ./runtime-tests "$@"
}
