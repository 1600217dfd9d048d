//! A list that grows and shrinks by whole chunks, so that its growth never moves what it holds.
//!
//! A million records in one `Vec` would be copied each time it is full, in the middle of a turn; and the
//! memory of the old one is needed meanwhile. Used by the [`store`](super::store), which numbers its records
//! by their slots, and by the [change log](super::change_log).

/// How many items a chunk has: few enough that the first, which grows like any `Vec`, is moved in well
/// below a tenth of a millisecond, and enough that the list of chunks stays in the cache.
const CHUNK_ITEMS: usize = 4096;

/// The items by slot, which counts from 0 and has no holes.
#[derive(Debug)]
pub(super) struct Chunks<T> {
    /// All but the last are full.
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Chunks<T> {
    pub fn new() -> Chunks<T> {
        Chunks { chunks: Vec::new(), len: 0 }
    }

    /// A list of these items.
    pub fn of(items: impl IntoIterator<Item = T>) -> Chunks<T> {
        let mut chunks = Chunks::new();
        items.into_iter().for_each(|item| chunks.push(item));
        chunks
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, slot: usize) -> Option<&T> {
        self.chunks.get(slot / CHUNK_ITEMS)?.get(slot % CHUNK_ITEMS)
    }

    /// The items from `first` on, at most `count`. `first` is a multiple of `count`, and a chunk has a
    /// multiple of it: so they lie together.
    pub fn part(&self, first: usize, count: usize) -> &[T] {
        let chunk = self.chunks.get(first / CHUNK_ITEMS).map_or(&[][..], Vec::as_slice);
        let rest = chunk.get(first % CHUNK_ITEMS..).unwrap_or_default();
        rest.get(..count).unwrap_or(rest)
    }

    pub fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        self.chunks.get_mut(slot / CHUNK_ITEMS)?.get_mut(slot % CHUNK_ITEMS)
    }

    pub fn push(&mut self, item: T) {
        self.len += 1;
        if let Some(last) = self.chunks.last_mut().filter(|last| last.len() < CHUNK_ITEMS) {
            return last.push(item);
        }
        // A small herd should not pay for a large one: only further chunks have their size at once.
        let room = if self.chunks.is_empty() { 1 } else { CHUNK_ITEMS };
        let mut chunk = Vec::with_capacity(room);
        chunk.push(item);
        self.chunks.push(chunk);
    }

    /// Takes an item out; the last one takes its place.
    pub fn swap_remove(&mut self, slot: usize) -> Option<T> {
        if slot >= self.len {
            return None;
        }
        let last = self.chunks.last_mut()?.pop()?;
        if self.chunks.last().is_some_and(Vec::is_empty) {
            self.chunks.pop();
        }
        self.len -= 1;
        match self.get_mut(slot) {
            Some(item) => Some(std::mem::replace(item, last)),
            None => Some(last),
        }
    }

    /// For how many items there is memory.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.chunks.iter().map(Vec::capacity).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_found_by_slot_and_the_last_fills_a_hole_in_any_chunk() {
        let count = 2 * CHUNK_ITEMS + 1;
        let mut items = Chunks::new();
        (0..count).for_each(|item| items.push(item));
        assert!((0..count).all(|slot| items.get(slot) == Some(&slot)));
        assert_eq!((items.len(), items.get(count)), (count, None));
        assert_eq!(items.swap_remove(count), None);
        assert_eq!(items.swap_remove(1), Some(1));
        assert_eq!((items.get(1), items.len()), (Some(&(count - 1)), count - 1));
        // The last of all, with which its chunk is full.
        assert_eq!(items.swap_remove(count - 2), Some(count - 2));
        assert_eq!((items.get(count - 2), items.len()), (None, count - 2));
        assert_eq!(items.get_mut(CHUNK_ITEMS).copied(), Some(CHUNK_ITEMS));
    }

    #[test]
    fn a_chunk_is_never_moved_once_there_is_a_second_and_goes_when_it_is_empty() {
        let mut items = Chunks::new();
        (0..=CHUNK_ITEMS).for_each(|item| items.push(item));
        let second = |items: &Chunks<usize>| std::ptr::from_ref(items.get(CHUNK_ITEMS).unwrap());
        let place = second(&items);
        (0..10 * CHUNK_ITEMS).for_each(|item| items.push(item));
        assert_eq!(second(&items), place);
        while items.len() > 1 {
            items.swap_remove(0);
        }
        assert!(items.capacity() <= CHUNK_ITEMS, "{}", items.capacity());
    }
}
