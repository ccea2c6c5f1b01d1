/** Work for a guest: a command, a script with input, files in and out. No login, no prompt to wait for. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { createDomain, ttylinux } from 'domus';

await using vm = await createDomain(await ttylinux());

const { stdout } = await vm.exec(['uname', '-sr']); // Waits until the guest has booted.
console.log(stdout.trim());

const { code, stderr } = await vm.exec('echo "sh: exit" >&2; exit 3');
console.log(`${code} is not 0: ${stderr.trim()}`);

const file = `${process.cwd()}/example-${process.pid}`;
await writeFile(file, '1 2 3');
try {
  await vm.copyIn(file, '/root/numbers');
  const sum = await vm.exec('read a b c < numbers; read what; echo "$a $b $c $what $((a + b + c))" | tee sum', {
    input: 'added up to\n',
  });
  console.log(sum.stdout.trim());
  await vm.exec("sed 's/.* //' -i sum");
  await vm.copyOut('/root/sum', file);
  console.log(`from the guest: ${(await readFile(file, 'utf8')).trim()}`);
} finally {
  await rm(file);
}
