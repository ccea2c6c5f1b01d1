/**
 * One description for each wire format: a name, a size and fields with written-out offsets, little endian.
 * Readers and writers are made from the description, so byte order and width are decided here only.
 * Each `get` is exactly one load: take a field that the guest can change once, then check and use that copy.
 */
export interface Field<T> {
  readonly offset: number;
  readonly size: number;
  get(view: DataView, base: number): T;
  set(view: DataView, base: number, value: T): void;
}

export const u8 = (offset: number): Field<number> => ({
  offset,
  size: 1,
  get: (view, base) => view.getUint8(base + offset),
  set: (view, base, value) => view.setUint8(base + offset, value),
});
export const u16 = (offset: number): Field<number> => ({
  offset,
  size: 2,
  get: (view, base) => view.getUint16(base + offset, true),
  set: (view, base, value) => view.setUint16(base + offset, value, true),
});
export const s16 = (offset: number): Field<number> => ({
  offset,
  size: 2,
  get: (view, base) => view.getInt16(base + offset, true),
  set: (view, base, value) => view.setInt16(base + offset, value, true),
});
export const u32 = (offset: number): Field<number> => ({
  offset,
  size: 4,
  get: (view, base) => view.getUint32(base + offset, true),
  set: (view, base, value) => view.setUint32(base + offset, value, true),
});
export const s32 = (offset: number): Field<number> => ({
  offset,
  size: 4,
  get: (view, base) => view.getInt32(base + offset, true),
  set: (view, base, value) => view.setInt32(base + offset, value, true),
});
export const u64 = (offset: number): Field<bigint> => ({
  offset,
  size: 8,
  get: (view, base) => view.getBigUint64(base + offset, true),
  set: (view, base, value) => view.setBigUint64(base + offset, value, true),
});

export type Struct<F extends Record<string, Field<unknown>>> = F & {
  readonly name: string;
  /** Bytes from one element of an array of these to the next. */
  readonly size: number;
};

export function struct<F extends Record<string, Field<unknown>>>(name: string, size: number, fields: F): Struct<F> {
  for (const [key, field] of Object.entries(fields)) {
    if (field.offset + field.size > size) throw new Error(`${name}.${key} lies outside its ${size} bytes`);
  }
  return Object.assign({ ...fields }, { name, size });
}
