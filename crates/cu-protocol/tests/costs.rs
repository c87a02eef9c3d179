//! What a message costs, in allocations: times are noise on a shared machine, and these are not.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use cu_protocol::frame::{Decoder, Frame};
use cu_protocol::{Attempt, Envelope, Fraction, JobId, Message, ResumeRequest, Sequence, ToServer};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: it is the system's allocator, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = ALLOCATIONS.with(Cell::get);
    let outcome = work();
    (ALLOCATIONS.with(Cell::get) - before, outcome)
}

#[test]
fn a_message_costs_few_allocations() {
    let progress = Fraction::new(0.5).expect("a half");
    for (message, most_to_encode, most_to_decode) in [
        (Message::Progress(progress), 4, 3),
        (Message::ResumeRequest(ResumeRequest::default()), 4, 3),
    ] {
        let message = ToServer::Message(Envelope {
            job: JobId(7),
            attempt: Attempt(3),
            sequence: Sequence(1),
            message,
        });
        let (to_encode, frame) = allocations(|| Frame::new(&message).expect("it is short"));
        let mut decoder = Decoder::new();
        let (to_decode, decoded) = allocations(|| {
            decoder.feed(frame.bytes());
            decoder.next_message::<ToServer>().expect("it is whole")
        });
        assert_eq!(decoded, Some(message.clone()));
        assert!(
            to_encode <= most_to_encode,
            "{to_encode} to encode {message:?}"
        );
        assert!(
            to_decode <= most_to_decode,
            "{to_decode} to decode {message:?}"
        );
    }
}
