// What Node finds out about a tree, printed so that two runs can be compared.
const fs = require('fs'), path = require('path'), crypto = require('crypto');
const tree = process.argv[2];
const hash = (data) => crypto.createHash('sha256').update(data).digest('hex');
const tried = (what, work) => {
  try { console.log(what, work()); } catch (error) { console.log(what, error.code); }
};
console.log(fs.readFileSync(`${tree}/plain.txt`, 'utf8'), hash(fs.readFileSync(`${tree}/big.bin`)), require(`${tree}/data.json`));
console.log(fs.readdirSync(tree, { withFileTypes: true }).map((entry) => [entry.name, entry.isDirectory(), entry.isSymbolicLink()]));
for (const name of ['plain.txt', 'link.txt', 'absolute.txt', 'broken', 'loop', 'sub', 'none']) {
  tried(name, () => { const stat = fs.lstatSync(path.join(tree, name)); return [stat.mode, stat.isDirectory() || stat.size, stat.mtimeMs]; });
  tried(name, () => fs.realpathSync(path.join(tree, name)));
  tried(name, () => fs.realpathSync.native(path.join(tree, name)));
  tried(name, () => fs.readlinkSync(path.join(tree, name)));
}
process.chdir(`${tree}/sub`);
console.log(process.cwd(), fs.readFileSync('module.py', 'utf8'));
(async () => {
  console.log((await fs.promises.readdir(tree)).length, (await fs.promises.stat(`${tree}/big.bin`)).size);
  const parts = [];
  for await (const part of fs.createReadStream(`${tree}/big.bin`)) parts.push(part);
  console.log(hash(Buffer.concat(parts)));
})();
