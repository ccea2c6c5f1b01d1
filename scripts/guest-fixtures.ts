/**
 * Packs the sample of src/guest/sample-elf.ts with the machine's xz, lzma, bzip2 and lz4 and writes src/guest/packed-samples.ts,
 * for tests of the formats that Node cannot pack itself. Usage: scripts/guest-fixtures.ts [--help]
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { sampleElf } from '../src/guest/sample-elf.ts';

if (process.argv.includes('--help')) {
  console.log('usage: guest-fixtures.ts: writes src/guest/packed-samples.ts; needs xz, lzma, bzip2 and lz4');
  process.exit(0);
}

// biome-ignore format: a table
const COMMANDS = {
  xz:         ['xz', '--check=crc32', '--x86', '--lzma2=preset=6', '-c'], // as the kernel's build packs itself
  xzCrc64:    ['xz', '-6', '-c'],
  xzSha256:   ['xz', '--check=sha256', '--block-size=1024', '-c'],
  lzma:       ['xz', '--format=lzma', '-c'],
  bzip2:      ['bzip2', '-9', '-c'],
  lz4:        ['lz4', '-l', '-9', '-c'],
};

const lines = Object.entries(COMMANDS).map(([name, [command, ...args]]) => {
  const { status, stdout, error } = spawnSync(command, args, { input: sampleElf() });
  if (status !== 0) throw new Error(`${command} failed: ${error?.message ?? `exit code ${status}`}`);
  return `  /** ${[command, ...args].join(' ')} */\n  ${name}:\n    '${stdout.toString('base64')}',\n`;
});
const text = `/** Made by scripts/guest-fixtures.ts: what the sample of sample-elf.ts becomes when these programs pack it. */\nexport const PACKED = {\n${lines.join('')}};\n`;
writeFileSync(new URL('../src/guest/packed-samples.ts', import.meta.url), text);
