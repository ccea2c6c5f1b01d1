/**
 * A process that is a PC emulated by v86, its first serial port on standard input and output. Arguments: BIOS, VGA BIOS,
 * kernel, initramfs, MiB of memory, kernel line.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { V86 } from 'v86';

const MIB = 1 << 20;
const [bios, vgaBios, kernel, initrd, memoryMiB, line] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
  string,
];

const image = (file: string): { buffer: ArrayBuffer } => ({ buffer: new Uint8Array(readFileSync(file)).buffer });
const machine = new V86({
  wasm_path: fileURLToPath(new URL('v86.wasm', import.meta.resolve('v86'))),
  bios: image(bios),
  vga_bios: image(vgaBios),
  bzimage: image(kernel),
  initrd: image(initrd),
  cmdline: line,
  memory_size: Number(memoryMiB) * MIB,
  vga_memory_size: 2 * MIB,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
  autostart: true,
});
machine.add_listener('serial0-output-byte', (byte: number) => void process.stdout.write(Uint8Array.of(byte)));
process.stdin.on('data', (bytes: Buffer) => machine.serial_send_bytes(0, bytes));
process.stdin.on('end', () => process.exit());
