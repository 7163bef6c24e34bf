//! Arrays of any length for serde, which knows those up to 32 alone: the elements, and no length.

use core::fmt;
use core::marker::PhantomData;

use heapless::Vec;
use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn serialize<S: Serializer, T: Serialize, const LEN: usize>(
    array: &[T; LEN],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut tuple = serializer.serialize_tuple(LEN)?;
    for element in array {
        tuple.serialize_element(element)?;
    }
    tuple.end()
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>, const LEN: usize>(
    deserializer: D,
) -> Result<[T; LEN], D::Error> {
    deserializer.deserialize_tuple(LEN, Elements(PhantomData))
}

struct Elements<T, const LEN: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const LEN: usize> Visitor<'de> for Elements<T, LEN> {
    type Value = [T; LEN];

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{LEN} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut array = Vec::<T, LEN>::new();
        while let Some(element) = elements.next_element()? {
            array.push(element).map_err(|_| A::Error::invalid_length(LEN, &self))?;
        }
        let found = array.len();
        array.into_array().map_err(|_| A::Error::invalid_length(found, &self))
    }
}
