//! The part of lifesign that decides.
#![no_std]
#![forbid(unsafe_code)]
