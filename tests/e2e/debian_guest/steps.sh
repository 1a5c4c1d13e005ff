# Runs every file of steps/ in order after words.sh, none for more than $limit seconds, and
# writes of each to the second serial port, which is stdout, a line `@ NAME STATUS SECONDS`, then
# what it printed, each line after a `|`.
stty -F /dev/ttyS1 raw
for step in steps/*; do
  begun=$(date +%s)
  timeout -k 5 $limit sh -eu -c ". ./words.sh; . ./$step" >/tmp/said 2>&1 </dev/null && status=0 || status=$?
  echo "@ ${step#steps/} $status $(($(date +%s) - begun))"
  sed 's/^/|/' /tmp/said
done
echo '@ end 0 0'
poweroff -f
