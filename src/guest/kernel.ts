/**
 * From the file that a distribution ships (bzImage, or a vmlinux packed or not) to the ELF image that the domain builder loads.
 * The builder reads the ELF and its Xen notes; here is only the wrapping. Follows Documentation/arch/x86/boot.rst.
 */
import { createRequire } from 'node:module';
import { constants, gunzipSync, zstdDecompressSync } from 'node:zlib';
import { CorruptError } from './corrupt.ts';
import { KernelError } from './kernel-error.ts';
import { unpackLz4Legacy } from './lz4.ts';
import { unpackLzma } from './lzma.ts';
import { unpackXz } from './xz.ts';

/** An honest kernel unpacks to some 60 MiB; a forged size must not take the host's memory. */
const UNPACKED_MAX = 1 << 30;

interface Format {
  readonly name: string;
  readonly magic: readonly number[];
  /** The kernel's build puts the unpacked size (u32) behind the stream; gzip's own trailer already is that. */
  readonly sizeAppended: boolean;
  /** `size` is known inside a bzImage only. */
  readonly unpack?: (input: Uint8Array, size: number | undefined) => Uint8Array;
}

// biome-ignore format: a table
export const FORMATS: readonly Format[] = [
  { name: 'gzip',  magic: [0x1f, 0x8b],                          sizeAppended: false, unpack: gunzip },
  { name: 'xz',    magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00],  sizeAppended: true,  unpack: (input) => unpackXz(input, UNPACKED_MAX) },
  { name: 'LZ4',   magic: [0x02, 0x21, 0x4c, 0x18],              sizeAppended: true,  unpack: lz4 },
  { name: 'zstd',  magic: [0x28, 0xb5, 0x2f, 0xfd],              sizeAppended: true,  unpack: zstd },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68],                    sizeAppended: true,  unpack: bzip2 },
  { name: 'LZMA',  magic: [0x5d, 0x00, 0x00],                    sizeAppended: true,  unpack: (input, size) => unpackLzma(input, size, UNPACKED_MAX) },
  { name: 'LZO',   magic: [0x89, 0x4c, 0x5a, 0x4f],              sizeAppended: true },
];

function gunzip(input: Uint8Array): Uint8Array {
  return gunzipSync(input, { maxOutputLength: UNPACKED_MAX });
}

function lz4(input: Uint8Array, size: number | undefined): Uint8Array {
  if (size === undefined) throw new CorruptError('a bare LZ4 file does not tell its unpacked size', 0);
  return unpackLz4Legacy(input, size);
}

function zstd(input: Uint8Array): Uint8Array {
  // Kernels are packed with a window larger than what decoders take unasked.
  return zstdDecompressSync(input, {
    maxOutputLength: UNPACKED_MAX,
    params: { [constants.ZSTD_d_windowLogMax]: 31 },
  });
}

function bzip2(input: Uint8Array, size: number | undefined): Uint8Array {
  // Few kernels are packed so: the others need not wait for it.
  const Bunzip = createRequire(import.meta.url)('seek-bzip') as typeof import('seek-bzip').default;
  return size === undefined ? Bunzip.decode(input) : Bunzip.decode(input, new Uint8Array(size));
}

export function loadKernel(bytes: Uint8Array): { elf: Uint8Array } {
  if (bytes.length < 64) throw new KernelError(`not a kernel: ${bytes.length} bytes are too few for one`);
  if (isElf(bytes)) return { elf: checkedElf(bytes, 'at offset 0x0') };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length >= 0x264 && view.getUint32(0x202, true) === 0x53726448) return { elf: fromBzImage(bytes, view) };
  if (view.getUint32(0x38, true) === 0x644d5241)
    throw new KernelError('a kernel for 64-bit ARM; domains run x86-64 ones');
  const format = formatOf(bytes);
  if (!format) {
    throw new KernelError(
      `not a kernel: neither bzImage, ELF nor a packed ELF, but begins with ${hex(bytes.subarray(0, 8))} at offset 0x0`,
    );
  }
  return { elf: checkedElf(unpack(format, bytes, undefined, 0), `in the ${format.name} data at offset 0x0`) };
}

/** The payload of a bzImage: setup_sects at 0x1f1, protocol at 0x206, payload_offset at 0x248, payload_length at 0x24c. */
function fromBzImage(bytes: Uint8Array, view: DataView): Uint8Array {
  const protocol = view.getUint16(0x206, true);
  if (protocol < 0x0208) {
    throw new KernelError(
      `bzImage of boot protocol ${protocol >> 8}.${protocol & 255} at offset 0x206; 2.8 or newer is needed`,
    );
  }
  const start = ((bytes[0x1f1] || 4) + 1) * 512 + view.getUint32(0x248, true);
  const length = view.getUint32(0x24c, true);
  if (length < 8 || start + length > bytes.length) {
    throw new KernelError(
      `bzImage is cut short: its payload is ${length} bytes at offset 0x${start.toString(16)}, the file has ${bytes.length} bytes`,
    );
  }
  const payload = bytes.subarray(start, start + length);
  const where = `at offset 0x${start.toString(16)}`;
  if (isElf(payload)) return checkedElf(payload, where);
  const format = formatOf(payload);
  if (!format) {
    throw new KernelError(`bzImage holds an unknown format ${where}: it begins with ${hex(payload.subarray(0, 8))}`);
  }
  const size = view.getUint32(start + length - 4, true);
  if (size < 64 || size > UNPACKED_MAX) {
    throw new KernelError(
      `bzImage is corrupt: it claims to unpack to ${size} bytes at offset 0x${(start + length - 4).toString(16)}`,
    );
  }
  const elf = unpack(format, format.sizeAppended ? payload.subarray(0, -4) : payload, size, start);
  if (elf.length !== size) {
    throw new KernelError(
      `bzImage is corrupt: the ${format.name} data ${where} unpacks to ${elf.length} bytes instead of ${size}`,
    );
  }
  return checkedElf(elf, `in the ${format.name} data ${where}`);
}

/** Also for kernel modules, which come packed in some releases. */
export function unpack(format: Format, input: Uint8Array, size: number | undefined, start: number): Uint8Array {
  if (!format.unpack)
    throw new KernelError(`${format.name} data at offset 0x${start.toString(16)}: this format is not supported`);
  try {
    return format.unpack(input, size);
  } catch (error) {
    const at = start + (error instanceof CorruptError ? error.offset : 0);
    const reason = error instanceof Error ? error.message : String(error);
    throw new KernelError(`corrupt ${format.name} data at offset 0x${at.toString(16)}: ${reason}`);
  }
}

export function formatOf(bytes: Uint8Array): Format | undefined {
  return FORMATS.find(({ magic }) => magic.every((byte, i) => bytes[i] === byte));
}

const isElf = (bytes: Uint8Array): boolean =>
  bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;

function checkedElf(elf: Uint8Array, where: string): Uint8Array {
  if (elf.length < 64 || !isElf(elf)) throw new KernelError(`no ELF image ${where}, but ${hex(elf.subarray(0, 4))}`);
  const machine = elf[18] | (elf[19] << 8);
  if (elf[4] !== 2 || elf[5] !== 1 || machine !== 62) {
    throw new KernelError(
      `the ELF image ${where} is for another processor (class ${elf[4]}, machine ${machine}); x86-64 is needed`,
    );
  }
  return elf;
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
