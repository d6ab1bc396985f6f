// SPDX-License-Identifier: Apache-2.0

/// Tokens made by pyca/cryptography 48, one for each algorithm, and the set of their keys: subject
/// `spiffe://example.org/web`, audience `api`, from 1900000000 to 1900000300.
enum JWTVectors {
    static let tokens = [
        es256,
        es384,
        es512,
        ps256,
        ps384,
        ps512,
        rs256,
        rs384,
        rs512,
    ]

    static let keySet = """
        {"keys":[{"kty":"EC","crv":"P-256","x":"DM28XBJ2FPEvBIzyW8BMKTxt1vYTXLSqb8M1oDXgeZ0"\
        ,"y":"vpP4LxEiZlUvZ3egiyHK5FuN9n6LhcfjZSOhSx9jVxY","use":"jwt-svid","kid":"ES256"},{\
        "kty":"EC","crv":"P-384","x":"uZ9o-Y5ncCm-3g9GnVxmlAwJmDcKYtbUDySzLJ_tfbgwq1NrO6eIq6\
        dbIJgv5VnK","y":"-A9dGWhszBeS-yQyXuEvpMvWTuZj_1nkQHFQJMdMx4XoanFAbuZg2X2PMHUSnJdM","\
        use":"jwt-svid","kid":"ES384"},{"kty":"EC","crv":"P-521","x":"AAWyj9QVCLKHUt2jKit45-\
        ojVSxU0W8SbrYt7cRxIOMntgHkBgxHqWpDfFMF6Gm71YCtmiR_9FB0qkjdoLLxsu_5","y":"AHQ0Ziu32Mv\
        ltoATIRktQi2j8Ptn8khWnnLD4cD7hsWMxRn7imDBkbkmXl7Q14ySJ3Ag-49OgPD9gyYe2rN8ggug","use"\
        :"jwt-svid","kid":"ES512"},{"kty":"RSA","n":"1EMx82jLTa3j4fs428jW3AWDzpEKU1OVbbI3WW-\
        LA6oyfI2FTfFXn25b0wcZUvM9gyKWSLrEWvp0njkNnakVzPQ7rOljpUqHFOdQuJOvnsihP1saPEVsdt3mRix\
        -wNvkWlJC4JWYaNvCOyjKSqRvrzKUrWoqV5rTzLYjEcWpunJyyM9S1cr7UxfYJjfwEHEMrghDto_S946DGUb\
        Lac59Omz4XCjdbDpykQnbFFyZgHwCXL771a_Xipk9VRZTwfv9qG5FS7qFvcL0vLd5fodLPn10pi7Yu0adAyl\
        2GB9HSS8NvJCZVACDfqUUQgiy3LZc4_od3IAtIWgk1a6DcUESBQ","e":"AQAB","use":"jwt-svid","ki\
        d":"rsa"}]}
        """

    static let es256 = """
        eyJhbGciOiAiRVMyNTYiLCAia2lkIjogIkVTMjU2IiwgInR5cCI6ICJKV1QifQ.eyJzdWIiOiAic3BpZmZlO\
        i8vZXhhbXBsZS5vcmcvd2ViIiwgImF1ZCI6IFsiYXBpIl0sICJleHAiOiAxOTAwMDAwMzAwLCAiaWF0IjogM\
        TkwMDAwMDAwMCwgImlzcyI6ICJodHRwczovL2lzc3Vlci5leGFtcGxlIn0.P0fInAQSy2JCjTRkT2y_S9XRS\
        _kiVAxql94ofH47-Gs8caEt9R5_TLeDCinZyajtRuNT7dwH92qjvd-y-IwRBg
        """

    static let es384 = """
        eyJhbGciOiAiRVMzODQiLCAia2lkIjogIkVTMzg0IiwgInR5cCI6ICJKV1QifQ.eyJzdWIiOiAic3BpZmZlO\
        i8vZXhhbXBsZS5vcmcvd2ViIiwgImF1ZCI6IFsiYXBpIl0sICJleHAiOiAxOTAwMDAwMzAwLCAiaWF0IjogM\
        TkwMDAwMDAwMCwgImlzcyI6ICJodHRwczovL2lzc3Vlci5leGFtcGxlIn0.RU8heuAWE1OjecCEaNCRtNAty\
        uGkcMSlsM_Vx189p_mlbWXKvgT3muPQuEchqqqavsQBo-eVkz4rlzeb5Hq3ksX5UKj_cIG-Ll-EZRGn_dAe4\
        y7JgmELX2_Gyu5JJcyM
        """

    static let es512 = """
        eyJhbGciOiAiRVM1MTIiLCAia2lkIjogIkVTNTEyIiwgInR5cCI6ICJKV1QifQ.eyJzdWIiOiAic3BpZmZlO\
        i8vZXhhbXBsZS5vcmcvd2ViIiwgImF1ZCI6IFsiYXBpIl0sICJleHAiOiAxOTAwMDAwMzAwLCAiaWF0IjogM\
        TkwMDAwMDAwMCwgImlzcyI6ICJodHRwczovL2lzc3Vlci5leGFtcGxlIn0.AeGtiYq_qePxyS3OjdeIhApdT\
        Px2z9NcTEW4X1to66x3vpqagPLNpHxycLEqELLhNxi28mPPZ3x7uQ6oI75zkQtgAdslS51OVUGAvERTfuFqT\
        phVXNt5ujR0efpZpJl-0OA1JJSntOPy8Vf0lOoDaGX_LA_0bJvYAZ_088uIQDggxv6G
        """

    static let ps256 = """
        eyJhbGciOiAiUFMyNTYiLCAia2lkIjogInJzYSIsICJ0eXAiOiAiSldUIn0.eyJzdWIiOiAic3BpZmZlOi8v\
        ZXhhbXBsZS5vcmcvd2ViIiwgImF1ZCI6IFsiYXBpIl0sICJleHAiOiAxOTAwMDAwMzAwLCAiaWF0IjogMTkw\
        MDAwMDAwMCwgImlzcyI6ICJodHRwczovL2lzc3Vlci5leGFtcGxlIn0.AVD-ckwruPzcJv_IL3JXNGjd68R6\
        Azudh5cKmyrL4j4IzO1m2_YV0OQ6PXwu9QOnov-XFAxI6Y1y_D30MO6J5uOCsGs-4O7O7ZTkXMoW9tbdwE76\
        RNSl5nxuOybD6FjU-MhRPpi5b_lKoOqI8zjwquBJF0W3026o_-z2qMrFD8mPetuzjzMqpE83c7GEGLFcO0L-\
        H1UpXsmGTPHMHCQQeRA1cwEUijWqr4AW4-f29UYuj_gwWBdEe-cQMVCh8o81Y_zSXSRfryshdhNog_CTA0Zx\
        u-1g4lEiiz_Fn6SLIkRT0GbmmMjwh0SO0j6vbtHIIoam0okFQtJLf9926-AJsw
        """

    static let ps384 = """
        eyJhbGciOiAiUFMzODQiLCAia2lkIjogInJzYSIsICJ0eXAiOiAiSldUIn0.eyJzdWIiOiAic3BpZmZlOi8v\
        ZXhhbXBsZS5vcmcvd2ViIiwgImF1ZCI6IFsiYXBpIl0sICJleHAiOiAxOTAwMDAwMzAwLCAiaWF0IjogMTkw\
        MDAwMDAwMCwgImlzcyI6ICJodHRwczovL2lzc3Vlci5leGFtcGxlIn0.IYLN_5UueKY5gxPhxvJXuvBsQ_Yp\
        BIPQAvG-TtQIhlEPCNt_DdKWQoAWazMHRcaELY_LFfPXHdVFcgGL6X9inZw4pl0TKdO2BxQ_jyI7TfOqT_nk\
        Kws39T_1RhadZEV_xUBKTk3K_6UnMkPqr79AUIHzN_L4fC8QXNhHKw_1RiOsLHUt6ZPxFerCJUOVaEsrCeVY\
        qRnQ57XCWiB0ov7EPZA8cm7lr-xECKFztpk8bTAB6oD5tB8v9GdMlX3Qo9krmd1MQe7qM0dho2HYl3vM2ORQ\
        avc3ZKWBwAx5UkJwJBGZEYzZ89-gsns-_QeLBxW4tISF1UE5A26PfAFXiCs8Zw
        """

    static let ps512 = """
        eyJhbGciOiAiUFM1MTIiLCAia2lkIjogInJzYSIsICJ0eXAiOiAiSldUIn0.eyJzdWIiOiAic3BpZmZlOi8v\
        ZXhhbXBsZS5vcmcvd2ViIiwgImF1ZCI6IFsiYXBpIl0sICJleHAiOiAxOTAwMDAwMzAwLCAiaWF0IjogMTkw\
        MDAwMDAwMCwgImlzcyI6ICJodHRwczovL2lzc3Vlci5leGFtcGxlIn0.FL9kgoGIPa0YscuuZMPE4C5O2ui8\
        JkUhFUlJki9inqySqwx8e5Inb4KEww3-t5Z-V6DS7mxSK4T7yxm5yqbdXO1iOG65r7QTxpLJMVK17sAsX33B\
        _3hdtxWkd9z5tx0YKZo4DyUI9l0ulqRRV5WrVL-gMTmzrUSJhTXMmUEeQNO7HRhgJG7bP7lP7wQMbpNIP7Bl\
        oJ3kJ3oS1No9zB3q2keE8Z6yKNQfgRbzqtMgDdeQurDTVIP8gJEOSZnJ95iLJJR9ku08lGtc4AIUthhewoxk\
        uOD-tN38RHHpwODQC2DB_CWsDuGH4vjR3g1Ii3z1KiFXTz1SVC4gQ_e76u1ihg
        """

    static let rs256 = """
        eyJhbGciOiAiUlMyNTYiLCAia2lkIjogInJzYSIsICJ0eXAiOiAiSldUIn0.eyJzdWIiOiAic3BpZmZlOi8v\
        ZXhhbXBsZS5vcmcvd2ViIiwgImF1ZCI6IFsiYXBpIl0sICJleHAiOiAxOTAwMDAwMzAwLCAiaWF0IjogMTkw\
        MDAwMDAwMCwgImlzcyI6ICJodHRwczovL2lzc3Vlci5leGFtcGxlIn0.XMTK-sU8CvophQI7Mz11c3feR-Sf\
        LK6XktgsYdOtWw6gYLqDQ5M_1m8IEQ4o1kKOkFvDWu-9KEDZE5mT4_cQLjD2PnR0jnnmHSuV9KjM8lkk053R\
        vBxQcaobgi3L9sxoY6g9HRJxEsUjvhKvYUKij9OMqTxYnrl9a1L9OXty2c9PbbRiwc7SzvsAAKscmvQTV08b\
        uGfBzNYD5srzWKPbKyzlnfLekCgEDT7UzxK42bDihyHrA9uBBLGbnG0xZ94triiVhKZuylgGqmt5fnbr8HQT\
        njP7UPp0eKxlnaWqjTZ7OTJHh2Bz7_c7IgY8dZwfbIjc495WiB4CYyjeQ2J8uw
        """

    static let rs384 = """
        eyJhbGciOiAiUlMzODQiLCAia2lkIjogInJzYSIsICJ0eXAiOiAiSldUIn0.eyJzdWIiOiAic3BpZmZlOi8v\
        ZXhhbXBsZS5vcmcvd2ViIiwgImF1ZCI6IFsiYXBpIl0sICJleHAiOiAxOTAwMDAwMzAwLCAiaWF0IjogMTkw\
        MDAwMDAwMCwgImlzcyI6ICJodHRwczovL2lzc3Vlci5leGFtcGxlIn0.H7ucO283Jn6uLzrDsTckP3EN2jqq\
        KpPj0-GOrlcxylqYiCFk7XHPtsKtAyxjkxBASuHWgeBllggOnv3TGANVST0k2Qvc2Is0zk9JUtLtiYkWYZd6\
        vE_TSPErI4o5bvzZ6_bvPVImlcF2uecU5Sr0DqZFEkzzeWnMZcrdjifaC3z1CrVZbyp1s6VFUiNVsAI-hB-y\
        WDVV3-dodbgwOIXajHGzGawBugQI4hDgGOP3VlE9TE11ZnYYMUCGOSRKFi-6gh3eSi--g56vL_QDz03x01U5\
        OOWFEnATaMEnwGYE2o2FqS-F7U0M7bOXTwq4CwHoRRWt2a6v2sZB2rJwokgOug
        """

    static let rs512 = """
        eyJhbGciOiAiUlM1MTIiLCAia2lkIjogInJzYSIsICJ0eXAiOiAiSldUIn0.eyJzdWIiOiAic3BpZmZlOi8v\
        ZXhhbXBsZS5vcmcvd2ViIiwgImF1ZCI6IFsiYXBpIl0sICJleHAiOiAxOTAwMDAwMzAwLCAiaWF0IjogMTkw\
        MDAwMDAwMCwgImlzcyI6ICJodHRwczovL2lzc3Vlci5leGFtcGxlIn0.YNvaE_vdGhTlMy3dHXUq6GxB7eNj\
        mgndzSW-TQ-OVRbYzgT579k6Q-nE6CDuBqop5WjxRTE3H9OJVIHXuGO9oEyK0IZSF2H7FWLKOlDLEWWJlfa2\
        v3dcgWtVBvenvJu2M5NyQ5Bbi30ck_8OZqJuR-HEQlgC3BiaMoTI9SDnZ1VlRHu_oYnOT3S0tsBbQ7TiZZZv\
        Y7d0hwP8ux-6zGwj60zMc-PAeLnNVlGb2eceCn9pXOEAUDRgRY1gT3WKZCz8coboornuJ4KRjxBIkbZka4nX\
        5h0yPC_lxzaH5Atp0qWRr662p-MvE6L1tRPxybuK0_YRHS-BQEhwLar4xxmN0g
        """

    /// PS256 with a salt longer than the digest (RFC 7518 section 3.5).
    static let ps256LongSalt = """
        eyJhbGciOiAiUFMyNTYiLCAia2lkIjogInJzYSJ9.eyJzdWIiOiAic3BpZmZlOi8vZXhhbXBsZS5vcmcvd2V\
        iIiwgImF1ZCI6IFsiYXBpIl0sICJleHAiOiAxOTAwMDAwMzAwLCAiaWF0IjogMTkwMDAwMDAwMCwgImlzcyI\
        6ICJodHRwczovL2lzc3Vlci5leGFtcGxlIn0.C6BeFXg6FmUSjRexsMEWgy3YUu-KlnOn8GrjP6pvTRuXixO\
        5rkZWPEKQtLb0RQduy1HDs9uyd458b5wGxz6SVM8ANFS828tTwHaj55R9Gj8cJaa5nqGQ0rp_Hz4BCzTUZMi\
        kbqWnG7TuQAjAFj_Dgq7rP_dwyzuSU6Ufki9bdAmhC7j04KPnnRvy39HHcwnC8wtssOE56rdvjuSdxieMy0I\
        wLQyh3iMW3SuWQQyvW5swIMMkarHn5ZxjYOkpai-T2haPezxDxVZ5vGK6FNoGa3iUopkXlq56AJkK9GlR4z7\
        wl0QrGrY7ndzmW5iqcBoFIbGzHkEVnUmcI8VQtZNCMQ
        """
}
