# Makes the trees that the tests of files read, as root; the pod's program is user 1000.
set -e
mkdir -p /data/tree/sub/empty /data/tree/many /data/odd /data/private /data/swap/..one /data/swap/..two
cd /data/tree
echo hello > plain.txt
echo '{"answer": 42}' > data.json
head -c 3000000 /dev/urandom > big.bin
printf 'echo "the script runs in $0"\n' > script.sh
chmod 755 script.sh
echo 'VALUE = "of the pod"' > sub/module.py
echo one > sub/one.txt
for number in $(seq 200); do echo "$number" > many/$number; done
ln -s plain.txt link.txt
ln -s /data/tree/plain.txt absolute.txt
ln -s nowhere broken
ln -s loop loop
ln -s sub folder
touch -h -d '2024-02-03 04:05:06.789' plain.txt data.json big.bin script.sh link.txt sub/* sub many/* many .
cd /data/odd
printf x > 'a b'
printf x > "$(printf 'new\nline')"
printf x > "$(printf '\377\001')"
printf x > ./-rf
printf x > '*'
printf x > 'ünï'
ln -s ../../../../../../etc/hostname out
ln -s /etc/hostname absolute
ln -s / root
ln -s ../../../.. up
mkfifo fifo
printf secret > /data/private/file
chmod 600 /data/private/file
mkdir -m 700 /data/private/folder
echo one > /data/swap/..one/key
echo two, longer > /data/swap/..two/key
ln -s ..one /data/swap/..data
ln -s ..data/key /data/swap/key
mkdir /data/made
chown -R 1000:1000 /data/swap /data/made
