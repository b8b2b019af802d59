# What a shell and its tools find out about a tree, printed so that two runs can be compared.
cd "$1" || exit 1
pwd
read -r first < plain.txt
echo "$first" *.txt s*/*
find . -printf '%P %y %m %T@ %l\n' | LC_ALL=C sort
find . -type f -size +1000k
wc -c < big.bin
cat link.txt absolute.txt sub/../plain.txt "$1"/many/17
sh ./script.sh
cd sub && pwd && ls -1 && cd ..
tar --create --sort=name --owner=0 --group=0 --numeric-owner . | sha256sum
cp -r "$1" "$2/copy" && diff -r --no-dereference "$1/sub" "$2/copy/sub" && sha256sum < "$2/copy/big.bin"
stat -c '%n %a %s %Y' plain.txt link.txt "$1/script.sh"
test -r plain.txt && test -x script.sh && test ! -x plain.txt && test -d sub && test -L link.txt && echo tests
