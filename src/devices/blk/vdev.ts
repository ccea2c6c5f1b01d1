/**
 * The names and numbers of virtual disks: what a configuration may call one (sda1, hdb, xvdc2, d1p3, 801), the number the
 * classic tools made of it, and the device that today's guests see, which is always an xvd. Follows xm-xend 3.2, pv-abi 7.6.
 */

export interface DiskPlace {
  /** 0 for the first disk: sda, hda, xvda. */
  readonly disk: number;
  /** 0 for the whole disk. */
  readonly partition: number;
}

export interface GuestDisk extends DiskPlace {
  /** The device's number in the store and in requests. */
  readonly vdev: number;
  /** What Linux calls it: xvda1. */
  readonly name: string;
}

const XVD_MAJOR = 202;
/** Numbers of xvd disks beyond the 16th, or with partitions beyond the 15th. */
const EXTENDED = 2 ** 28;
const EXTENDED_DISKS_MAX = 2 ** 20;
const HD_MAJORS = [3, 22, 33, 34, 56, 57, 88, 89, 90, 91];
/** Majors of sd disks, 16 disks each. */
const SD_MAJORS = [8, 65, 66, 67, 68, 69, 70, 71, 128, 129, 130, 131, 132, 133, 134, 135];

/** How each family of names counts: partitions of a disk, disks there are. */
// biome-ignore format: a table
const FAMILIES: Readonly<Record<string, { readonly partitions: number; readonly disks: number }>> = {
  sd:  { partitions: 15,  disks: SD_MAJORS.length * 16 },
  hd:  { partitions: 63,  disks: HD_MAJORS.length * 2 },
  xvd: { partitions: 255, disks: EXTENDED_DISKS_MAX },
};

/** The disk and partition that a name or a hexadecimal number means; undefined when it means none. */
export function parseDevice(name: string): DiskPlace | undefined {
  const short = name.replace(/^\/dev\//, '');
  const named = /^(sd|hd|xvd)([a-z]{1,4})(0|[1-9]\d{0,2})?$/.exec(short);
  if (named) {
    const { partitions, disks } = FAMILIES[named[1]!]!;
    const place = { disk: diskIndex(named[2]!), partition: Number(named[3] ?? 0) };
    return place.disk < disks && place.partition <= partitions ? place : undefined;
  }
  const later = /^d(\d{1,7})(?:p(\d{1,3}))?$/.exec(short);
  // A name such as d0 is a hexadecimal number too, but of no disk.
  if (later) {
    const place = { disk: Number(later[1]), partition: Number(later[2] ?? 0) };
    return place.disk < EXTENDED_DISKS_MAX && place.partition <= FAMILIES.xvd!.partitions ? place : undefined;
  }
  return /^(0x)?[0-9a-f]{1,8}$/i.test(short) ? placeOf(Number.parseInt(short, 16)) : undefined;
}

/** The disk and partition of a device number, whichever family it is of. */
export function placeOf(number: number): DiskPlace | undefined {
  if (number >= EXTENDED) {
    const rest = number - EXTENDED;
    return rest < EXTENDED_DISKS_MAX * 256 ? { disk: Math.floor(rest / 256), partition: rest % 256 } : undefined;
  }
  const major = Math.floor(number / 256);
  const minor = number % 256;
  if (major === XVD_MAJOR) return { disk: minor >> 4, partition: minor & 15 };
  const sd = SD_MAJORS.indexOf(major);
  if (sd >= 0) return { disk: sd * 16 + (minor >> 4), partition: minor & 15 };
  const hd = HD_MAJORS.indexOf(major);
  if (hd >= 0 && minor < 128) return { disk: hd * 2 + (minor >> 6), partition: minor & 63 };
  return undefined;
}

/** The number that the classic tools gave a name of the sd and hd families: what `xm list -l` of old showed. */
export function classicNumber(name: string): number | undefined {
  const place = parseDevice(name);
  if (!place) return undefined;
  const { disk, partition } = place;
  const short = name.replace(/^\/dev\//, '');
  if (short.startsWith('sd')) return SD_MAJORS[disk >> 4]! * 256 + (disk & 15) * 16 + partition;
  if (short.startsWith('hd')) return HD_MAJORS[disk >> 1]! * 256 + (disk & 1) * 64 + partition;
  return vdevOf(place);
}

/** The device that a guest of today sees for the name: disk and partition stay, so sda1 and hda1 are both xvda1. */
export function guestDisk(name: string): GuestDisk | undefined {
  const place = parseDevice(name);
  return place && { ...place, vdev: vdevOf(place), name: nameOf(place) };
}

/** The number of an xvd disk or partition. */
export function vdevOf({ disk, partition }: DiskPlace): number {
  return disk < 16 && partition < 16 ? XVD_MAJOR * 256 + disk * 16 + partition : EXTENDED + disk * 256 + partition;
}

function nameOf({ disk, partition }: DiskPlace): string {
  return `xvd${diskLetters(disk)}${partition === 0 ? '' : partition}`;
}

/** a … z, aa, ab …: 0 … 25, 26, 27 … */
function diskIndex(letters: string): number {
  let index = 0;
  for (const letter of letters) index = index * 26 + letter.charCodeAt(0) - 96;
  return index - 1;
}

function diskLetters(disk: number): string {
  let letters = '';
  for (let rest = disk; rest >= 0; rest = Math.floor(rest / 26) - 1) {
    letters = String.fromCharCode(97 + (rest % 26)) + letters;
  }
  return letters;
}
