/**
 * Numbers for contents that the table's maps refer to. A number is the content's 32-bit hash, so a
 * restart finds the same ones in the kernel. Should two contents of the moment collide, all numbers
 * are given out in the order of the contents, each taking the first free of its further hashes:
 * still a function of what is there, never of the order in which it came.
 */
import { compareBytes, sha256 } from "#std";

/** Gives 32 bits; 0 stands for "no class". */
export type ClassHash = (content: string) => number;

export const hashOfContent: ClassHash = (content) => {
  const bytes = sha256(content);
  const value = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  return value === 0 ? 1 : value;
};

export class ClassIds {
  readonly #hash: ClassHash;
  readonly #idByContent = new Map<string, number>();
  readonly #contentsByHash = new Map<number, Set<string>>();
  #collisions = 0;
  /** Contents changed while some of them collide, or did until then. */
  #renumber = false;

  constructor(hash: ClassHash = hashOfContent) {
    this.#hash = hash;
  }

  add(content: string): void {
    const hash = this.#hash(content);
    let contents = this.#contentsByHash.get(hash);
    if (contents === undefined) this.#contentsByHash.set(hash, (contents = new Set()));
    if (contents.has(content)) return;
    contents.add(content);
    if (contents.size > 1) this.#collisions++;
    this.#idByContent.set(content, hash);
    if (this.#collisions > 0) this.#renumber = true;
  }

  remove(content: string): void {
    if (!this.#idByContent.delete(content)) return;
    const hash = this.#hash(content);
    const contents = this.#contentsByHash.get(hash);
    contents?.delete(content);
    if (this.#collisions > 0) this.#renumber = true;
    if (contents?.size === 0) this.#contentsByHash.delete(hash);
    else this.#collisions--;
  }

  /** To be called after the last change and before `idOf`; true if any number may have changed. */
  settle(): boolean {
    if (!this.#renumber) return false;
    this.#renumber = false;
    const taken = new Set<number>();
    for (const content of [...this.#idByContent.keys()].sort(compareBytes)) {
      let id = this.#hash(content);
      for (let attempt = 1; taken.has(id); attempt++) id = this.#hash(`${content}\0${attempt}`);
      taken.add(id);
      this.#idByContent.set(content, id);
    }
    return true;
  }

  idOf(content: string): number {
    return this.#idByContent.get(content) ?? 0;
  }
}
