# What the steps say again and again.

# Runs those of the runtime's own tests that the words choose, and prints what came of each: by
# their names, as they end in any order. A test that has nothing to test fails.
tests() {
  if TMPDIR=$BASE/tmp ORLOP_TESTS_COMPLETE=1 ORLOP_TESTS_CONTROLLERS=1 ORLOP_TESTS_ROUNDS=20 \
    ./runtime-tests "$@" >"$BASE/told" 2>&1; then
    LC_ALL=C sort "$BASE/told"
  else
    set -- $?
    cat "$BASE/told"
    return "$1"
  fi
}
